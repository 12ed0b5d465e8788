"""The table of reviews."""

from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, Numeric, Text, true
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shop.models import Base, Customer, Product


class Review(Base):
    """One customer's opinion of a product, with the price it had when they wrote it."""

    __tablename__ = "review"
    __table_args__ = (CheckConstraint("rating BETWEEN 1 AND 5", name="rating_range"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey(Product.id), index=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey(Customer.id))
    rating: Mapped[int]
    body: Mapped[str] = mapped_column(Text)
    price_at_review: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    published: Mapped[bool] = mapped_column(server_default=true())

    product: Mapped[Product] = relationship()
    customer: Mapped[Customer] = relationship()
